"""What a report has to be before a signature goes under it: whole, possible, of one piece."""
