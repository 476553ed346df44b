"""A store of this server as a part of a larger one: what other machines ask of it."""
