"""The studies of `mac study`: a module measures and keeps the rows of one."""
