"""Why a run differs: known mistakes (`known`), which of them explains a run (`search`), and runs that tell them all
apart (`probing`)."""
