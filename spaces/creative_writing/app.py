"""A Space that serves the page Write."""

from apps.web.space import launch_space

if __name__ == "__main__":
    launch_space(__file__, ["write"])
