"""What files of others hold, read into parts: their shapes, and what colours them. Nothing is taken on trust."""
