"""What the readers of office files share: archives, blocks of text, drawings, lists."""
