"""A picture in, the frames of a clip out."""
