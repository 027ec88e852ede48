The help of every command and the explanation of every setting (``config explain``, the JSON Schema) are in plain English; every setting has one.
