"""How many tokens texts, images, requests and answers have, as far as that can be known."""
