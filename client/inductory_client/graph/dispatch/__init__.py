"""The loadable dispatch: a captured function's code, guards and outer graph; a start skips the capture."""
