"""What a release is made from: the measurement and the card, read and checked."""
