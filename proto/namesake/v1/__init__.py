"""Namesake's API, version 1: every message, enum, client stub and servicer in one place.

    import grpc
    from namesake import v1

    with grpc.insecure_channel("127.0.0.1:7400") as channel:
        customers = v1.CustomerServiceStub(channel)
        card = v1.Customer(last_name="Lovelace", emails=[v1.EmailAddress(value="ada@example.org")])
        saved = customers.SaveCustomer(v1.SaveCustomerRequest(customer=card))

What each element means, its limits and its defaults stand in the protos beside this file.
"""

from namesake.v1.admin_service_pb2 import *
from namesake.v1.admin_service_pb2_grpc import *
from namesake.v1.customer_pb2 import *
from namesake.v1.customer_service_pb2 import *
from namesake.v1.customer_service_pb2_grpc import *
from namesake.v1.duplicate_service_pb2 import *
from namesake.v1.duplicate_service_pb2_grpc import *
from namesake.v1.merge_service_pb2 import *
from namesake.v1.merge_service_pb2_grpc import *
from namesake.v1.timeline_service_pb2 import *
from namesake.v1.timeline_service_pb2_grpc import *
from namesake.v1.transfer_service_pb2 import *
from namesake.v1.transfer_service_pb2_grpc import *
from namesake.v1.validation_pb2 import *
from namesake.v1.validation_service_pb2 import *
from namesake.v1.validation_service_pb2_grpc import *
