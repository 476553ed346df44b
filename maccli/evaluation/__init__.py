"""What `mac eval` and `mac study` measure: methods, their answers, costs and results."""
