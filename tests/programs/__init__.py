"""Programs that tests run as processes of their own: what they do cannot be done inside pytest."""
