"""Against real services and a running relay: ``make live``; ``README.rst`` says what it sends and costs."""
