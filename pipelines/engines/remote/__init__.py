"""Models on a server: any that speaks the protocol of OpenAI."""
