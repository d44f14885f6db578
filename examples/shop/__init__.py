"""A small record shop before Raak: its page, and the server behind the page."""
