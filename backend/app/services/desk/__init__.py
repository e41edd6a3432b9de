"""Looking, for pages of the console. Deeds are the services' of the other rooms."""
