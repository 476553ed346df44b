"""Where `mac serve` listens: TCP, and for the user's own `mac ask` and `mac search` a Unix socket.

Only `routes` imports FastAPI: the commands that ask a running server start without it.
"""
