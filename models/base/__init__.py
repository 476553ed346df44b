"""The frozen base LM and the frozen sentence encoder, and how they are run."""
