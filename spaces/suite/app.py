"""A Space that serves all five pages."""

from apps.web.space import launch_space

if __name__ == "__main__":
    launch_space(__file__)
