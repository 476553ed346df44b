"""One module a command: options in, one call, output. `mac --help` imports them all.

So nothing heavy is imported at their top: the service is imported inside the command.
"""
