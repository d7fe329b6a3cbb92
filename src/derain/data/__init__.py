"""Data: records of pairs and photographs, crops of them, and streams of training samples balanced over the types."""
