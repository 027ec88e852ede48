The help of every command and the explanation of every setting (``config explain``, the JSON Schema) are in plain English; every setting that this version supports has one.
