``smtprelay refused``, ``/api/v1/refused`` and the tab *Refused* show what clients were refused, added up and bounded, each with the setting that would let it in.
