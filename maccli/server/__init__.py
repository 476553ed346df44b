"""`mac serve`: the Python API over HTTP, in the shapes that other programs already speak.

FastAPI and uvicorn are an extra (`maccli[serve]`), so only this package imports them. Nothing else
imports it but the commands: `mac serve`, and those that ask a running server (`sockets.client`).
"""
