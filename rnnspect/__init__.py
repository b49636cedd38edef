"""Open up a recurrent network: its shapes, every gate of every step, and the framework's numbers beside them."""

from rnnspect.api import check as check
from rnnspect.api import shapes as shapes
from rnnspect.api import trace as trace
from rnnspect.asserting import assert_agrees as assert_agrees
from rnnspect.errors import DeviceError as DeviceError
from rnnspect.errors import FileError as FileError
from rnnspect.errors import InputError as InputError
from rnnspect.errors import ResourceError as ResourceError
from rnnspect.errors import RnnspectError as RnnspectError
from rnnspect.errors import SequenceError as SequenceError
from rnnspect.errors import SpecError as SpecError
from rnnspect.errors import WeightsError as WeightsError
from rnnspect.parameters import Shapes as Shapes
from rnnspect.spec import Head as Head
from rnnspect.spec import Spec as Spec
from rnnspect.tracing import LayerTrace as LayerTrace
from rnnspect.tracing import Pair as Pair
from rnnspect.tracing import Trace as Trace
from rnnspect.verdict import GateResolution as GateResolution
from rnnspect.verdict import Point as Point
from rnnspect.verdict import Verdict as Verdict
from rnnspect.version import __version__ as __version__
from rnnspect.watching import watch as watch
