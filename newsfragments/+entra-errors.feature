A refusal of Microsoft Entra says what to do (``oauth`` of a smarthost, too); too many requests there slow the provider down instead of blocking it.
