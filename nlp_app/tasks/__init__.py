"""What a task is made of: how gold becomes targets, and how a network's output becomes results and scores."""
