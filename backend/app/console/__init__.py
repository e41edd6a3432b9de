"""What people look at in a browser. Server-rendered; nothing is loaded from another host.

A page is: an entry in `access.py` (who may), a function in `<noun>.py` under `@page` or `@action` (one service call and
`render.show`), a template in `templates/<noun>/`, texts in both catalogues of `i18n/`, an entry in `navigation.py` if
one goes there from everywhere, and a line in `routes.py`. The guards have checked session, role and form by then.
Tests that walk over all pages (backend/tests/test_console_pages.py) want a `Place` for each route.
"""
