"""The routes that programs made for OpenAI's API speak to."""
