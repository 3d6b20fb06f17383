"""What is read from tests of memory."""
