"""Jobs: rows to answers, whatever happens in between.

A job lives in a folder of its own, and every step it takes is written down before it counts: the rows as they
were read, the requests as they were sent, what each answer came to. So whoever comes after a crash goes on
where it stopped, and nothing is sent or paid for twice.
"""
