"""Tables, Markdown and pictures for people."""
