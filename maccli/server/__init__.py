"""`mac serve`: the Python API over HTTP, in the shapes that other programs already speak.

FastAPI and uvicorn are an extra (`maccli[serve]`), so only this package imports them, and nothing
imports this package but the command.
"""
