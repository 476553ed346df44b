"""What a mail says: its headers, texts, quotations and invitations."""
