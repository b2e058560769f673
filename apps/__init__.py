"""What a person touches: the command line (``apps.cli``), the web app (``apps.web``) and publishing."""
