"""What the experiments found: rows, bytes in files, the engine's accuracy, and their page."""
