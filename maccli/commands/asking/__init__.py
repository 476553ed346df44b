"""The commands that ask: `mac ask`, `mac chat`, `mac search`, and `mac log` of what was asked."""
