"""The HTTP edge: guards, routes, problem documents."""
