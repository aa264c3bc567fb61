"""Boards and chips: synthesis, place and route, resources, the clock that is reached."""
