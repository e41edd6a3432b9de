"""The PostgreSQL that comes with the package: who runs it, where its cluster lies, who may stop it."""
