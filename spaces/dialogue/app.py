"""A Space that serves the page Chat."""

from apps.web.space import launch_space

if __name__ == "__main__":
    launch_space(__file__, ["chat"])
