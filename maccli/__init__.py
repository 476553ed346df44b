"""The command line `mac`: files in, answers out. A client of the packages `store` and `models`."""
