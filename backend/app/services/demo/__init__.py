"""Lives through the demo's story, by the services that everybody uses."""
