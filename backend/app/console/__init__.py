"""What people look at in a browser. Server-rendered; nothing is loaded from another host."""
