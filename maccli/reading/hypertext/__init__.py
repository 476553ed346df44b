"""What an HTML page says, block by block."""
