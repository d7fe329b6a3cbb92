"""What can be measured on a picture, or on a pair, without any learnt judge."""
