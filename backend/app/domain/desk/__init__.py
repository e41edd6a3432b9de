"""What people look at: one record for each page. Pure."""
