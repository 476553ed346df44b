"""What `mac train` and `mac train-rival` do: options to settings, data to a trained folder."""
