package org.bad

class ClassNotSerializable {
    String name
}
