"""python3 -m unittest discover -p "*_test.py", in this folder; an image's build runs it as well."""

import unittest
from types import SimpleNamespace

from handler import handle


class HandlerTest(unittest.TestCase):
    def test_greets_whom_the_body_names(self):
        event = SimpleNamespace(body=b"Ada\n", query={})
        self.assertEqual(handle(event, None)["body"], "Hello, Ada!\n")

    def test_greets_the_world_when_nobody_is_named(self):
        event = SimpleNamespace(body=b"", query={})
        self.assertEqual(handle(event, None)["body"], "Hello, world!\n")
