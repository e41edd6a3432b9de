"""The application, floor by floor; see ARCHITECTURE.md."""

if __name__ != "backend.app":
    # The runbook's commands are typed inside backend/, where Python would also find this package as
    # plain `app`: a second copy of every module, with its own counters and caches.
    raise ImportError(f"this package is imported as backend.app, not as {__name__}")
