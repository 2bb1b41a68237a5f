/*
 * The rules for vars/ and src/. The Jenkins rules look by default only at a file named "Jenkinsfile" (applyToFileNames) and
 * would pass everything else unread.
 */
ruleset {
    description 'Steps of the Jenkins shared library'

    ruleset('rulesets/jenkins.xml') {
        ParameterOrReturnTypeNotSerializable(applyToFileNames: '*')
        ObjectOverrideOnlyNonCpsMethods(applyToFileNames: '*')
        ForbiddenCallInCpsMethod(applyToFileNames: '*')
        ExpressionInCpsMethodNotSerializable(applyToFileNames: '*')
        CpsCallFromNonCpsMethod(applyToFileNames: '*')
        ClosureInGString(applyToFileNames: '*')
        ClassNotSerializable(applyToFileNames: '*', doNotApplyToFilesMatching: '.*/vars/.*')
    }
    ruleset('rulesets/imports.xml') {
        exclude 'NoWildcardImports'
        exclude 'MisorderedStaticImports'
    }
    ruleset('rulesets/unused.xml')
    ruleset('rulesets/security.xml') {
        exclude 'JavaIoPackageAccess'
    }
    ruleset('rulesets/basic.xml')
    ruleset('rulesets/exceptions.xml') {
        include 'ThrowRuntimeException'
        include 'CatchThrowable'
    }
    ruleset('rulesets/formatting.xml') {
        include 'TrailingWhitespace'
        include 'LineLength'
        LineLength(length: 140)
    }
    ruleset('rulesets/convention.xml') {
        include 'NoTabCharacter'
    }
    ruleset('rulesets/size.xml') {
        include 'MethodSize'
        include 'NestedBlockDepth'
        MethodSize(maxLines: 50)
        NestedBlockDepth(maxNestedBlockDepth: 6)
    }
}
