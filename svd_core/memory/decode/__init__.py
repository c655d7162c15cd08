"""The decode of a clip in bounded memory."""
